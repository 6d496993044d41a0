"""Module calls answered: in batches, in a thread beside the programs, equal ones once."""

from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from sdvp_core.base.errors import UserError
from sdvp_core.base.images import ImageStore
from sdvp_core.interpreter.trace import Statistics, one_line
from sdvp_core.modules.call import Call, Module, Output

CACHED_OUTPUTS = 50_000
CACHED_BYTES = 64 * 2**20  # honest answers come to half of it; a hostile program writes long texts
ENTRY_BYTES = 500  # of an entry without what it says: objects, a region, a place in the dictionary
ENCODES_REGIONS = ("locate", "match")  # once, however many texts are asked of a region
NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


class CallCache:
    """The last ``capacity`` answers, as long as they and their calls take about ``most`` bytes.

    A capacity of 0 keeps none.
    """

    def __init__(self, capacity: int = CACHED_OUTPUTS, most: int = CACHED_BYTES) -> None:
        self.capacity, self.most, self.bytes = capacity, most, 0
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
        before = self._outputs.pop(call, None)
        if before is not None:
            self.bytes -= _bytes(call, before)
        self._outputs[call] = output
        self.bytes += _bytes(call, output)
        while self._outputs and (len(self) > self.capacity or self.bytes > self.most):
            self.bytes -= _bytes(*self._outputs.popitem(last=False))


def _bytes(call: Call, output: Output) -> int:
    """About what an answer and its call take in memory; a character can take four bytes."""
    texts = (*call.texts, output.answer or "", output.error or "")
    numbers = 4 * len(output.boxes) + len(output.scores)
    own = ENTRY_BYTES + 4 * sum(map(len, texts)) + 32 * numbers
    return own + (_bytes(call, output.handed) if output.handed is not None else 0)


class BatchSizes:
    """How many encodings a batch of each module may have, found where memory was too short.

    Given to every run over the same modules, a size is found once and holds for all of them.
    ``found`` has the modules whose batches did not fit.
    """

    def __init__(self) -> None:
        self.found: dict[str, int] = {}

    def most(self, name: str, wanted: int) -> int:
        """``wanted``, or the size of batch that memory has been found to allow."""
        return min(wanted, self.found.get(name, wanted))

    def too_many(self, name: str, encodings: int) -> None:
        """Remember that memory was too short for so many: the power of two below is tried next."""
        self.found[name] = self.most(name, 1 << max(0, (encodings - 1).bit_length() - 1))


def encoded_once(call: Call) -> Hashable:
    """What a model encodes once for all calls that share it."""
    return (call.image_id, call.region) if call.module in ENCODES_REGIONS else call


class Forwards:
    """One batch of one module at a time, computed while the caller does something else.

    torch lets go of Python's lock while it computes, so that programs run meanwhile. ``started``
    tells whether there has been a batch.
    """

    def __init__(
        self,
        modules: Mapping[str, Module],
        images: ImageStore,
        statistics: Statistics,
        batch_sizes: BatchSizes,
    ) -> None:
        self._modules = modules
        self._images = images
        self._statistics = statistics
        self._batch_sizes = batch_sizes
        self.started = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="forwards")
        self._batch: tuple[Sequence[Call], Future] | None = None

    def start(self, name: str, calls: Sequence[Call]) -> None:
        """Begin a batch of different calls; the one before must have been finished."""
        self.started = True
        self._statistics.unique_calls += len(calls)
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
            if isinstance(error, MemoryError) or any(t in message.lower() for t in NO_MEMORY):
                self._statistics.short_of_memory += 1
                self._batch_sizes.too_many(name, _encodings(calls))
        half = len(calls) // 2
        return self._forward(name, calls[:half]) + self._forward(name, calls[half:])

    def _answers(self, name: str, calls: Sequence[Call]) -> list[Output]:
        self._statistics.forwards += 1
        outputs = self._modules[name].answer(calls, self._images)
        if len(outputs) != len(calls):
            raise ValueError(f"{name} gave {len(outputs)} outputs for {len(calls)} calls")
        self._statistics.largest_batch = max(self._statistics.largest_batch, _encodings(calls))
        return outputs


def _encodings(calls: Sequence[Call]) -> int:
    return len(set(map(encoded_once, calls)))
