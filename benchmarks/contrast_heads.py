"""What H_s of the coarse contrast has to see: kNN balanced accuracy of held-out slices while it trains.

The true masks of 60 pool cases label the slices, so that H_s and the learning rate are all that differs. Slices of 20
other cases are judged by their neighbours among the other patients, by what H_s pools
(`pretraining/monitor/neighbours.py`).

    python benchmarks/contrast_heads.py --dataset Dataset601_Phantom --out contrast_heads.json
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
import torch
from label_efficiency import commit
from label_efficiency_data import Draw, Study
from label_efficiency_training import WEIGHT_DECAY, batches, contrast_step

from nnunet_mgcl.losses import contrast_chance
from nnunet_mgcl.pretraining.coarse import CoarseModel, CoarseSettings
from nnunet_mgcl.pretraining.monitor.neighbours import neighbour_accuracy

SAMPLES, BATCH, STEPS, LOOKED_AT = 3200, 24, 400, 100


def main() -> None:
    """Runs what the file does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--plans", default="MGCLPlans_demo")
    parser.add_argument("--modalities", nargs="+", default=["DWI"])
    parser.add_argument("--poolings", nargs="+", default=["max", "mean"])
    parser.add_argument("--rates", nargs="+", type=float, default=[3e-3])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    study = Study(args.dataset, args.plans, (100, 200, 100))
    results = json.loads(args.out.read_text()) if args.out.is_file() else {}
    for name, seed in itertools.product(args.modalities, args.seeds):
        draw = Draw(study, study.branches[name], 5, seed)
        for pooling, rate in itertools.product(args.poolings, args.rates):
            key = f"{name} {pooling} {rate:g} {seed}"
            if key not in results:
                results[key] = run(draw, pooling, rate) | {"commit": commit(), "dataset": args.dataset}
                args.out.write_text(json.dumps(results, indent=1))
            print(key, "loss", results[key]["loss"], "kNN", results[key]["kNN"], flush=True)


def run(draw: Draw, pooling: str, rate: float) -> dict:
    """Trains one encoder; kNN before and after every `LOOKED_AT` steps, with the mean loss less chance in between."""
    model = CoarseModel(draw.new_network("coarse"), CoarseSettings(pooling=pooling), None)  # type: ignore[arg-type]
    stream = batches(draw.samples(draw.dataset(draw.study.pool[:60]), SAMPLES, "contrast"), draw.seed, BATCH)
    optimiser = torch.optim.Adam(model.parameters(), rate, weight_decay=WEIGHT_DECAY)
    scores, losses = [judge(model, draw)], []
    for _ in range(STEPS // LOOKED_AT):
        above = []
        for batch in itertools.islice(stream, LOOKED_AT):
            loss, labels = contrast_step(model, optimiser, batch)
            above.append(loss - contrast_chance(labels.unique(return_counts=True)[1].tolist()))
        losses.append(round(float(np.mean(above)), 3))
        scores.append(judge(model, draw))
    return {"loss": losses, "kNN": scores}


@torch.no_grad()
def judge(model: CoarseModel, draw: Draw) -> float:
    """KNN balanced accuracy of every second slice of 20 test cases."""
    images, masks = draw.volumes(draw.study.test[:20])
    model.eval()
    features = model.features(torch.cat([own[::2] for own in images]))
    labels = model.labels(torch.cat([own[::2] for own in masks]), features)
    patients = np.repeat(np.arange(len(images)), [len(own[::2]) for own in images])
    model.train()
    pooled = model.projection.pooled(features).numpy()
    return round(neighbour_accuracy(pooled, labels.numpy() == 1, patients).balanced, 3)


if __name__ == "__main__":
    main()
