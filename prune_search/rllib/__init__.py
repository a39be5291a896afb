"""All that knows RLlib from inside: what it trains, where its weights lie, and how they change."""

import logging

import ray.rllib  # noqa: F401 - sets its logger's level, which the next line changes

# RLlib warns of its own deprecated calls, which no user of ours can do anything about.
for _name in ("ray.rllib", "ray.tune", "ray._common.deprecation"):
    logging.getLogger(_name).setLevel(logging.ERROR)
