"""What the field would use: a graph network, a transformer on histories, and factors of title and category."""

from pipeline.recommenders.contract import FACTS
from pipeline.recommenders.peers.environment import PeerEnvironment
from pipeline.recommenders.peers.peer import Peer
from pipeline.recommenders.peers.settings import LightFmSettings, LightGcnSettings, SasRecSettings


class LightGcn(Peer):
    """PyTorch Geometric's LightGCN (He et al. 2020): embeddings averaged over the graph of users and items."""

    name = "lightgcn"
    title = "LightGCN"
    hint = "what people with similar purchases have"
    settings_class = LightGcnSettings
    environment = PeerEnvironment("lightgcn", ("torch-geometric==2.8.1", "xxhash==4.1.0"), "torch_geometric.nn.models")
    worker = "lightgcn_worker.py"


class SasRec(Peer):
    """RecTools' SASRec (Kang and McAuley 2018): a transformer on each history in order, with the items' categories."""

    name = "sasrec"
    title = "SASRec"
    hint = "what comes next in a history"
    settings_class = SasRecSettings
    needs = frozenset({FACTS})
    needs_times = True
    environment = PeerEnvironment(
        "sasrec",
        ("rectools==0.19.0", "pytorch-lightning==2.5.2", "lightning-utilities==0.15.3", "torchmetrics==1.9.0",
         "pandas==2.3.3", "pm-implicit==0.7.3", "typeguard==4.6.1"),
        "rectools.models",
    )  # fmt: skip
    worker = "sasrec_worker.py"


class LightFm(Peer):
    """LightFM (Kula 2015) on title and category: an item's factors are the sum of those of its features."""

    name = "lightfm"
    title = "LightFM"
    hint = "words and categories that the user has"
    settings_class = LightFmSettings
    needs = frozenset({FACTS})
    environment = PeerEnvironment("lightfm", ("rectools-lightfm==1.17.3",), "lightfm")  # lightfm itself does not build
    worker = "lightfm_worker.py"
