"""The comparisons of the kit explain themselves."""

import pytest

pytest.register_assert_rewrite(f"{__package__}.kit")
