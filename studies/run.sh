#!/bin/sh
# Everything that docs/explanation/reproduction.md measures: about nine hours on two cores. What is finished is not repeated.
#   studies/run.sh SEED-CXR DARKCOVIDNET OUT
set -eu
seed_cxr=$1 dark=$2 out=$3
hilum() { "${PYTHON:-.venv/bin/python}" -m hilum "$@"; }
go_on() { [ ! -e "$1" ] || echo --resume; }
evaluate() { for run in "$1"/trials/*/; do [ -e "$run/evaluation/test/metrics.json" ] || hilum evaluate "$run" >/dev/null; done; }

mkdir -p "$out"
# Fig. 4 to 6: the seed's network and protocol. It validates on the 615 images and tests on the 25.
if ! grep -qs weights_sha256 "$out/vgg/environment.json"; then
    if [ -e "$out/vgg/checkpoints/last.safetensors" ]
    then hilum train "$seed_cxr" --out "$out/vgg" --resume
    else hilum train "$seed_cxr" --out "$out/vgg" --recipe vgg16-report
    fi
fi
hilum evaluate "$out/vgg" --split test
hilum evaluate "$out/vgg" --split val
hilum report "$out/vgg"

# Fig. 2: both hierarchies, same backbone, epochs and seeds.
hilum sweep "$seed_cxr" --out "$out/hierarchy" $(go_on "$out/hierarchy") \
    --set training.seed=0,1,2,3,4 --set hierarchy=flat,cascade
evaluate "$out/hierarchy"
for seed in 0 1 2 3 4; do
    hilum compare "$out"/hierarchy/trials/*seed=$seed,hierarchy=flat "$out"/hierarchy/trials/*seed=$seed,hierarchy=cascade
done

# The augmentation argument: each alone, and none.
hilum sweep "$seed_cxr" --out "$out/augmentation" $(go_on "$out/augmentation") \
    --set training.seed=0,1,2,3,4 --set 'augmentation={},{translate=0.12},{rotate=15},{hflip=0.5}'
evaluate "$out/augmentation"

# Real COVID-19, confounded with its source.
hilum crossval "$dark" --folds 5 --out "$out/darkcovidnet" $(go_on "$out/darkcovidnet")

# The same folds by a frozen encoder, and what each cause contributes.
hilum crossval "$dark" --encoder efficientnet-lite0 --out "$out/encoder" $(go_on "$out/encoder")
"${PYTHON:-.venv/bin/python}" studies/darkcovidnet_causes.py "$dark"

# The seed's learning rates, two epochs each.
hilum sweep "$seed_cxr" --out "$out/rates" $(go_on "$out/rates") --recipe vgg16-report --set epochs=2 --set lr=0.001,0.01,0.1,1.0
for run in "$out"/rates/trials/*/; do [ -e "$run/evaluation/val/metrics.json" ] || hilum evaluate "$run" --split val >/dev/null; done

# Fewest false negatives against highest accuracy: the same trainings, other checkpoints kept.
hilum sweep "$seed_cxr" --out "$out/false_negatives" $(go_on "$out/false_negatives") \
    --set training.seed=0,1,2,3,4 --set training.monitor=accuracy,false_negatives --set training.save_after=0 \
    --monitor loss --set splits.val=hold_out --set splits.test=test --set splits.calibration=none
evaluate "$out/false_negatives"
