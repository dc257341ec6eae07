"""What has a lock can be copied, for another process too."""

import copy
import pickle

import pytest

from router_integrations import Health, Pacer
from router_integrations.errors import ProviderError
from router_integrations.ledger import Ledger


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])  # noqa: S301
def test_a_copy_knows_what_was_known_and_goes_on_alone(copied):
    health, pacer, ledger = Health(threshold=1), Pacer(budget_per_request=1.0), Ledger()
    health.record("big", ProviderError("down", family="server"))
    pacer.record(3.0)
    ledger.record("a", 0.5)
    health2, pacer2, ledger2 = copied(health), copied(pacer), copied(ledger)
    assert health2.cooling() == {"big"}
    assert pacer2.current() == pacer.current() > 0
    ledger2.record("a", 0.5)
    assert (ledger2.spent("a"), ledger.spent("a")) == (1.0, 0.5)
