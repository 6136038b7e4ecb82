"""Cornac's VBPR, as released and tuned.

Its code runs as released, although its torch VBPR adds a (B,) to a (B, 1) tensor, so its loss sums B x B differences
where B are meant. Its settings are those of the release except for the number of epochs, or tuned on validation over a
grid like those of this project's VBPR.
"""

from pipeline.recommenders.contract import FEATURES
from pipeline.recommenders.peers.environment import PeerEnvironment
from pipeline.recommenders.peers.peer import Peer
from pipeline.recommenders.peers.settings import CornacSettings, TunedCornacSettings


class CornacVbpr(Peer):
    """Cornac's VBPR as released; the number of epochs is chosen on validation."""

    name = "cornac_vbpr"
    title = "Cornac's VBPR"
    settings_class = CornacSettings
    needs = frozenset({FEATURES})
    environment = PeerEnvironment("cornac", ("cornac==3.0.1", "powerlaw==2.0.0"), "cornac.models")
    worker = "cornac_worker.py"


class TunedCornacVbpr(CornacVbpr):
    """Cornac's VBPR with the settings that our VBPR tunes, also tuned on validation."""

    name = "cornac_vbpr_tuned"
    title = "Cornac's VBPR, tuned"
    settings_class = TunedCornacSettings
