"""What commands print for machines is JSON, whatever it is made of."""

import json
from datetime import UTC, datetime

from cli.output import plain


def test_a_moment_is_written_in_its_standard_form() -> None:
    told = {"services": [{"features_at": datetime(2013, 2, 1, 6, tzinfo=UTC)}]}
    assert json.loads(json.dumps(plain(told))) == {"services": [{"features_at": "2013-02-01T06:00:00+00:00"}]}
