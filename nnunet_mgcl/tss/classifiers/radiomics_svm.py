"""Radiomic features of the lesions and a support vector machine (Table 4)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_classif
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from tqdm import tqdm

from nnunet_mgcl.system.files import is_there, make_folder, read_json, write_json
from nnunet_mgcl.tss.classifiers.protocol import Classifier, TrainingCase
from nnunet_mgcl.tss.classifiers.radiomics import BINS, FEWEST_VOXELS, radiomic_features

PENALTIES, KEPT = [0.01, 0.1, 1.0, 10.0, 100.0], [5, 10, 20, 40]
"""C and the number of features: chosen by the AUROC of a cross-validation inside the training cases, by patient."""
INNER_FOLDS = 5


class RadiomicsSVM(Classifier):
    """Everything that looks at labels (selection of features, C, the map to probabilities) sees training cases only."""

    name, masks = "radiomics-svm", "predicted"

    def fit(self, cases: Sequence[TrainingCase]) -> None:
        """Measures the cases and fits the machine."""
        target, patients = (np.array([getattr(case, key) for case in cases]) for key in ("positive", "patient"))
        folds = min(INNER_FOLDS, *(len(set(patients[target == kind])) for kind in (True, False)))
        if folds < 2:
            raise self.too_few(cases)
        rows = [self._measured(case.name) for case in tqdm(cases, f"{self.name}, features")]
        self.features = sorted({name for row in rows for name in row})
        values, seed = np.array([self._row(row) for row in rows]), self.settings.seed
        inner = [*StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(values, target, patients)]
        grid = {"svm__C": PENALTIES, "select__k": sorted({min(number, values.shape[1]) for number in KEPT})}
        self.search = GridSearchCV(self._pipeline(), grid, scoring="roc_auc", cv=inner)
        self.search.fit(values, target)
        # A machine an inner fold, each with Platt's map of its own cases left out. One map of all folds' decisions for
        # one machine of all cases would not do: where C is small nothing fixes the intercepts, and they differ.
        self.machines = CalibratedClassifierCV(self.search.best_estimator_, cv=inner, ensemble=True)
        self.machines.fit(values, target)

    def probability(self, case: str) -> float:
        """Of the case's features; the mean of the machines'."""
        return float(self.machines.predict_proba([self._row(self._measured(case))])[0, 1])

    def save(self, folder: Path) -> None:
        """Leaves what was chosen and the machines, as text: a pickle could run anything when it is read."""
        chosen = {key.split("__")[1]: value for key, value in self.search.best_params_.items()}
        machines = [self._learned(fitted) for fitted in self.machines.calibrated_classifiers_]
        content = {"chosen": chosen, "inner_auroc": float(self.search.best_score_), "machines": machines}
        write_json(folder / "svm.json", content)

    def _learned(self, fitted: Any) -> dict[str, Any]:
        """All numbers by which one machine makes a probability of a case's features."""
        steps, platt = fitted.estimator.named_steps, fitted.calibrators[0]
        varies, kept, svm = steps["varies"].get_support(), steps["select"].get_support(), steps["svm"]
        return {
            "features": np.array(self.features)[varies][kept].tolist(),
            "median": steps["impute"].statistics_[varies][kept].tolist(),
            "mean": steps["scale"].mean_[kept].tolist(),
            "scale": steps["scale"].scale_[kept].tolist(),
            "gamma": float(svm._gamma),
            "support_vectors": svm.support_vectors_.tolist(),
            "coefficients": svm.dual_coef_[0].tolist(),
            "intercept": float(svm.intercept_[0]),
            "platt": [float(platt.a_), float(platt.b_)],
        }

    def _pipeline(self) -> Pipeline:
        return Pipeline([
            ("impute", SimpleImputer(strategy="median", keep_empty_features=True)), ("varies", VarianceThreshold()),
            ("scale", StandardScaler()), ("select", SelectKBest(f_classif)),
            ("svm", SVC(class_weight="balanced", random_state=self.settings.seed)),
        ])  # fmt: skip

    def _row(self, features: dict[str, float]) -> list[float]:
        """In the order of the training cases' features; what a case lacks is nan."""
        return [features.get(name, np.nan) for name in self.features]

    def _measured(self, case: str) -> dict[str, float]:
        """A case's features; they know nothing of folds or classes, so that all folds share those once measured."""
        image, labels, properties = self.cases.load(case)
        masks = self.cases.masks(case, labels, properties)
        digest = hashlib.sha256(f"{BINS} {FEWEST_VOXELS} {image.shape}".encode() + image.tobytes())
        for name, mask in masks.items():
            digest.update(name.encode() + mask.tobytes())
        path = self.settings.shared / "features" / f"{case}.json"
        if is_there(path) and (known := read_json(path))["of"] == digest.hexdigest():
            return known["features"]
        features = radiomic_features(image, masks, self.cases.channel_names, self.cases.spacing(properties))
        features = {name: value for name, value in features.items() if np.isfinite(value)}
        make_folder(path.parent)
        write_json(path, {"of": digest.hexdigest(), "features": features})
        return features
