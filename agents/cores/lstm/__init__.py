"""The vanilla core: an LSTM whose state is reset within a span."""

from .cell import LSTM, LSTMConfig

__all__ = ["LSTM", "LSTMConfig"]
