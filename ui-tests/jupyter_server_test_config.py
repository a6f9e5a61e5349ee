"""Server configuration of the browser tests. Never for production: it has no password."""

import atexit
import os
import shutil
import tempfile

from jupyterlab.galata import configure_jupyter_server

c = get_config()  # type: ignore[name-defined]  # noqa: F821  (traitlets provides it)

configure_jupyter_server(c)

# Clusters are found by their connection files in Jupyter's runtime directory. With one of its
# own the server sees the clusters of its tests and never the developer's. By the environment,
# so that the kernels and clusters it starts look there too.
runtime_dir = tempfile.mkdtemp(prefix="cellspan-ui-")
atexit.register(shutil.rmtree, runtime_dir, ignore_errors=True)
os.environ["JUPYTER_RUNTIME_DIR"] = runtime_dir
c.JupyterApp.runtime_dir = runtime_dir
# Tests add kernels there that nobody else shall see.
os.environ["JUPYTER_PATH"] = runtime_dir

c.ServerApp.port = int(os.environ.get("CELLSPAN_UI_PORT", "8899"))
c.ServerApp.port_retries = 0  # another port would be another server than the one tested
c.ServerApp.allow_root = True  # as in most containers
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
