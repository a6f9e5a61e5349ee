"""scikit-learn on a cluster: `python examples/grid_search.py`.

joblib spreads `n_jobs` over the cluster's slots; each fit is a task, and the data travels once.
"""

import joblib
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

from cellspan import Client, LocalCluster, register_joblib


def main() -> None:
    register_joblib()
    images, digits = load_digits(return_X_y=True)  # 1,797 handwritten digits, 8 x 8 pixels each
    grid = {"C": [1, 10], "gamma": [0.001, 0.01]}
    with (
        LocalCluster(workers=1, cores=2) as cluster,
        Client(cluster) as client,
        joblib.parallel_config(backend="cellspan"),
    ):
        search = GridSearchCV(SVC(), grid, cv=3, n_jobs=-1).fit(images, digits)
        fits = sum(row.total for row in client.snapshot().groups if "fit" in row.name)
    print(f"{fits} fits on the cluster")
    print(f"best: {search.best_params_}, right in {search.best_score_:.1%} of the cases")


if __name__ == "__main__":
    main()
