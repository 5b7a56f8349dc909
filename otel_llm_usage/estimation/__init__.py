"""What a call will use and cost, before it is made, with no network: `estimate`, and what it learns from."""

from .estimator import estimate
from .learning import Learner
from .ratios import Ratios
from .tokenizer import warm

__all__ = ["Learner", "Ratios", "estimate", "warm"]
