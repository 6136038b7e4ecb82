"""What takes several processes to show: clusters, ranks. `make scale` runs these, `make test` leaves them out."""

import os

collect_ignore_glob = [] if os.environ.get("ATELIER_SCALE") else ["test_*.py"]
