#!/usr/bin/env bash
# The whole method on a synthetic phantom, with the very commands that a user types. Called by `make demo`.
set -euo pipefail

folder=${DEMO_FOLDER:-demo}
device=${DEMO_DEVICE:-cpu}
mkdir -p "$folder"/nnUNet_raw "$folder"/nnUNet_preprocessed "$folder"/nnUNet_results
folder=$(cd "$folder" && pwd)
export nnUNet_raw=$folder/nnUNet_raw nnUNet_preprocessed=$folder/nnUNet_preprocessed
export nnUNet_results=$folder/nnUNet_results
# Few worker processes: starting eight of them costs more than the work of a demo.
export nnUNet_def_n_proc=${nnUNet_def_n_proc:-1} nnUNet_n_proc_DA=${nnUNet_n_proc_DA:-2}
# nnU-Net computes with one thread a core and loads data in other processes: threads that spin while they wait would
# take the cores from these.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
rm -rf "$nnUNet_preprocessed"/Dataset501_Phantom "$nnUNet_results"/Dataset501_Phantom "$folder"/prediction

step() {
    printf '\n\033[1m[%3ds] $ %s\033[0m\n' $SECONDS "$*"
    "$@"
}

eval "$(mgcl env --shell bash)"
step mgcl phantom -o "$nnUNet_raw" --cases 200 --unlabelled 60 --test 4 --matrix 64 --slices 8 --seed "${DEMO_SEED:-0}" \
    --preview --overwrite
step nnUNetv2_plan_and_preprocess -d 501 -c 2d -np 2 -npfp 2
step mgcl plan -d 501 -c 2d --preset demo
# A random start may train for as many iterations as take as long as the whole cascade.
step mgcl plan -d 501 -c 2d --preset demo -o MGCLPlans_demo_long --set segment.iterations=270
step mgcl prepare -d 501 -c 2d -p MGCLPlans_demo -np 2

# Two trainings side by side; on a CPU a core each, data loading included.
cores=(taskset -c) workers=0
command -v taskset > /dev/null && [ "$device" = cpu ] && [ "$(nproc)" -ge 2 ] || cores=()
[ "$device" = cpu ] || workers=$nnUNet_n_proc_DA
train() {
    local core=$1
    shift
    step env nnUNet_n_proc_DA=$workers ${cores[@]:+"${cores[@]}" "$core"} nnUNetv2_train 501 2d 0 "$@" -device "$device"
}
train 1 -tr MGCLTrainerRandomInit -p MGCLPlans_demo_long > "$folder"/random_start.log 2>&1 &
random_start=$!
train 0 -tr MGCLTrainer -p MGCLPlans_demo
wait $random_start || { cat "$folder"/random_start.log; exit 1; }

step mgcl predict -i "$nnUNet_raw"/Dataset501_Phantom/imagesTs -o "$folder"/prediction -d 501 -c 2d \
    -p MGCLPlans_demo -f 0 -device "$device" -npp 0 -nps 0 --disable_progress_bar
step mgcl summary -d 501 -c 2d -p MGCLPlans_demo -f 0
step mgcl report -d 501 -c 2d -p MGCLPlans_demo -f 0 -device "$device"
step mgcl evaluate -d 501 -c 2d -p MGCLPlans_demo_long -tr MGCLTrainerRandomInit -f 0
step mgcl compare -d 501 MGCLTrainer__MGCLPlans_demo__2d MGCLTrainerRandomInit__MGCLPlans_demo_long__2d -f 0
printf '\nPredicted test cases: %s\nTime since stroke:    %s\n' "$folder/prediction" "$folder/prediction/tss.csv"
printf 'Report:               %s\n' "$nnUNet_results"/Dataset501_Phantom/MGCLTrainer__MGCLPlans_demo__2d/report_folds_0/index.html
printf 'Learning curves:      %s\n' "$nnUNet_results"/Dataset501_Phantom/MGCLTrainer__MGCLPlans_demo__2d/fold_0/phases/progress.png
printf 'These are phantom results: synthetic images, nothing clinical.\nDone after %d s.\n' $SECONDS
