"""Training steps in plain PyTorch, as someone would write them for one method alone: peers of kinema's.

Nothing here imports kinema. Each file holds one method's network, views, loss and step; `trunks` the video networks,
`views` the resampling and the colours that three of them share. `benchmarks/pretext_steps.py` runs them.
"""
