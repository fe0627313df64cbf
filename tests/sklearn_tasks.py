"""What scikit-learn computes with whatever backend of joblib is in force.

Run as a program, it computes all of it with loky, and writes that: loky's workers end with the program.
"""

from __future__ import annotations

import pickle
import sys
import tempfile
from typing import Any

import numpy as np
from joblib import parallel_config
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

X, Y = make_classification(n_samples=300, n_features=8, random_state=0)
# More than a megabyte: both backends share it with their workers in memory.
LARGE = np.repeat(X, 60, axis=0), np.repeat(Y, 60)


def scores() -> Any:
    return cross_val_score(LogisticRegression(), X, Y, cv=5, n_jobs=2)


def scores_of_large() -> Any:
    return cross_val_score(LogisticRegression(), *LARGE, cv=3, n_jobs=2)


def searched() -> Any:
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0, 10.0]}, cv=3, n_jobs=2).fit(X, Y)
    return search.best_params_, search.cv_results_["mean_test_score"].tolist()


def forest() -> Any:
    forest = RandomForestClassifier(20, n_jobs=2, random_state=0).fit(X, Y)
    return forest.set_params(n_jobs=1).predict_proba(X)  # threads add in the order in which they end


def search_of_forests() -> Any:
    forest = RandomForestClassifier(5, n_jobs=2, random_state=0)
    search = GridSearchCV(forest, {"max_depth": [2, 4]}, cv=3, n_jobs=2).fit(X, Y)
    return search.cv_results_["mean_test_score"], search.best_params_


def importance() -> Any:
    model = LogisticRegression().fit(X, Y)
    return permutation_importance(model, X, Y, n_repeats=4, random_state=0, n_jobs=2).importances


def pipeline_with_memory() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        steps = make_pipeline(StandardScaler(), LogisticRegression(), memory=folder)
        search = GridSearchCV(steps, {"logisticregression__C": [0.1, 1.0]}, cv=3, n_jobs=2).fit(X, Y)
        return search.cv_results_["mean_test_score"], search.predict_proba(X)


TASKS = [scores, searched, forest, search_of_forests, importance, pipeline_with_memory]

if __name__ == "__main__":
    with parallel_config(backend="loky"):
        found = {compute.__name__: compute() for compute in [*TASKS, scores_of_large]}
    sys.stdout.buffer.write(pickle.dumps(found))
