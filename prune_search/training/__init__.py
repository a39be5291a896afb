"""RLlib: an algorithm whose network is pruned while it trains."""

import logging

import ray.rllib  # noqa: F401 - sets its logger's level, which the next line changes

# RLlib warns of its own deprecated calls, which no user of ours can do anything about.
for _name in ("ray.rllib", "ray.tune", "ray._common.deprecation"):
    logging.getLogger(_name).setLevel(logging.ERROR)
