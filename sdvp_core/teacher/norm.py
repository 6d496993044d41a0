"""The one normalisation of both networks."""

from torch import Tensor, nn


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each cell.

    It costs half of what a group norm does on a CPU, for channels lie side by side in memory, and
    unlike a batch norm it does not mind views of several sizes.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return self.norm(x_BCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
