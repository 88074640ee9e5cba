"""The vanilla core: one LSTM whose state is reset inside a span."""

from .cell import LSTM, LSTMConfig

__all__ = ["LSTM", "LSTMConfig"]
