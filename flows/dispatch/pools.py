"""Names of Prefect's work pools and queues that `relevo deploy` creates."""

CPU, GPU = "relevo-cpu", "relevo-gpu"
CONTROLS = "controls"  # the queue of GPU that is asked when no stage is waiting
EXPERIMENTS, RESUME = "experiments", "resume"  # queues of CPU
