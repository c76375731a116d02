"""What a config that is refused is told."""

import pytest

from common.config import load_config
from common.errors import UserError


def refusal(path, *words, kind):
    """The one line of the error."""
    with pytest.raises(UserError) as caught:
        load_config(kind, path, list(words))
    assert "\n" not in str(caught.value)
    return str(caught.value)
