"""Module calls answered: in batches, in a thread beside the programs, equal ones once."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from sdvp_core.base.errors import UserError
from sdvp_core.base.images import ImageStore
from sdvp_core.interpreter.trace import Statistics, one_line
from sdvp_core.modules.call import Call, Module, Output

CACHED_OUTPUTS = 50_000
NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


class CallCache:
    """The last ``capacity`` answers; 0 keeps none."""

    def __init__(self, capacity: int = CACHED_OUTPUTS) -> None:
        self.capacity = capacity
        self._outputs: OrderedDict[Call, Output] = OrderedDict()

    def __len__(self) -> int:
        return len(self._outputs)

    def get(self, call: Call) -> Output | None:
        """The answer to an equal call, or None."""
        output = self._outputs.get(call)
        if output is not None:
            self._outputs.move_to_end(call)
        return output

    def put(self, call: Call, output: Output) -> None:
        self._outputs[call] = output
        if len(self._outputs) > self.capacity:
            self._outputs.popitem(last=False)


class Forwards:
    """One batch of one module at a time, computed while the caller does something else.

    torch lets go of Python's lock while it computes, so that programs run meanwhile.
    """

    def __init__(
        self, modules: Mapping[str, Module], images: ImageStore, statistics: Statistics
    ) -> None:
        self._modules = modules
        self._images = images
        self._statistics = statistics
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="forwards")
        self._batch: tuple[Sequence[Call], Future] | None = None
        self._most: dict[str, int] = {}

    def most(self, name: str, wanted: int) -> int:
        """``wanted``, or the size of batch that memory has been found to allow."""
        return min(wanted, self._most.get(name, wanted))

    def start(self, name: str, calls: Sequence[Call], encodings: int) -> None:
        """Begin a batch of different calls; the one before must have been finished."""
        self._statistics.unique_calls += len(calls)
        self._statistics.largest_batch = max(self._statistics.largest_batch, encodings)
        self._batch = (calls, self._thread.submit(self._forward, name, calls))

    def finish(self) -> dict[Call, Output]:
        """The answers of the batch under way, once it is done; empty where there is none."""
        if self._batch is None:
            return {}
        (calls, future), self._batch = self._batch, None
        return dict(zip(calls, future.result(), strict=True))

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    def _forward(self, name: str, calls: Sequence[Call]) -> list[Output]:
        """A batch that raises is halved until the calls at fault stand alone.

        Where memory was short, later batches stay at the half.
        """
        try:
            return self._answers(name, calls)
        except UserError:
            raise
        except Exception as error:
            message = one_line(f"{type(error).__name__}: {error}")
            if len(calls) == 1:
                return [Output(error=message)]
            half = len(calls) // 2
            if isinstance(error, MemoryError) or any(t in message.lower() for t in NO_MEMORY):
                self._most[name] = half
        return self._forward(name, calls[:half]) + self._forward(name, calls[half:])

    def _answers(self, name: str, calls: Sequence[Call]) -> list[Output]:
        self._statistics.forwards += 1
        outputs = self._modules[name].answer(calls, self._images)
        if len(outputs) != len(calls):
            raise ValueError(f"{name} gave {len(outputs)} outputs for {len(calls)} calls")
        return outputs
