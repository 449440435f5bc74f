"""Who writes, and how it improves: engines, the LoRA policy, its losses and its learning step.

Importing this package loads no torch: `synlearner.policies.model` and what builds on it does.
"""

import os

# Idle OpenMP threads sleep instead of spinning. On a machine with other work spinning costs 4 to 6 times the speed
# (docs/LOG.md). It is read when torch is first loaded, hence here; whoever set it before keeps their choice.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
