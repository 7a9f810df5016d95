"""Parts that connect longtail's samplers and losses to other libraries; each module needs the library of its name alone.

Without a module here: torchrun and Lightning Fabric take an `EpochSampler` as it is, accelerate one with `world=1`.
"""
