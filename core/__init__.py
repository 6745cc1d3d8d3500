"""Omnimix core: token mixers, what they are made of, and the training habits every application shares.

Nothing is imported here, so `import core` costs nothing and changes nothing; take what you need from
`core.mixers`, `core.ops`, `core.positions`, `core.channels`, `core.blocks` and `core.testing`.
"""
