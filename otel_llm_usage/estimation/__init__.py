"""What a call will use and cost, before it is made, with no network: `estimate`, and what it learns from."""

from .estimator import Estimate, estimate
from .learning import Learner
from .ratios import Ratios
from .tokenizer import warm

__all__ = ["Estimate", "Learner", "Ratios", "estimate", "warm"]
