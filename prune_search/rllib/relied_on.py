"""What we rely on of RLlib that it does not promise: names of its insides, where they are, and why.

A test looks each of them up, and finds each that our code uses in this list: on another Ray it
names what has gone.
"""

from __future__ import annotations

from typing import NamedTuple


class Inside(NamedTuple):
    """A private name of a class of RLlib's, or of Tune's."""

    name: str
    of: str
    """`module:Class`, below `ray.rllib` where the module does not begin with `ray`."""
    why: str


_ALGORITHM = "algorithms.algorithm:Algorithm"
_CONFIG = "algorithms.algorithm_config:AlgorithmConfig"
_LEARNER = "core.learner.torch.torch_learner:TorchLearner"
_MINIBATCHES = "utils.minibatch_utils:MiniBatchCyclicIterator"
_NETWORK = "core.rl_module.torch.torch_rl_module:TorchRLModule"
_GROUP = "core.learner.learner_group:LearnerGroup"
_RUNNER = "env.single_agent_env_runner:SingleAgentEnvRunner"
_EPISODE = "env.single_agent_episode:SingleAgentEpisode"
_RUNNERS = "env.env_runner_group:EnvRunnerGroup"
_IMPALA = "algorithms.impala.impala_learner:IMPALALearner"
_IMPALA_THREAD = "algorithms.impala.impala_learner:_LearnerThread"
_APPO = "algorithms.appo.appo_learner:APPOLearner"
_BUFFER = "utils.replay_buffers.episode_replay_buffer:EpisodeReplayBuffer"
_PRIORITIZED = "utils.replay_buffers.prioritized_episode_buffer:PrioritizedEpisodeReplayBuffer"
_FILTER = "connectors.env_to_module.mean_std_filter:MeanStdFilter"
_DISTRIBUTIONS = "core.distribution.torch.torch_distribution"

INSIDES = (
    Inside("_registered", "ray.tune.registry:_Registry", "environments that may be lost with Ray"),
    Inside("_to_flush", "ray.tune.registry:_Registry", "likewise, before Ray has started"),
    Inside("_create_local_replay_buffer_if_necessary", _ALGORITHM, "an empty replay buffer"),
    Inside("_env_to_module_connector", _CONFIG, "whether a checkpoint has connectors of its own"),
    Inside("_is_frozen", _CONFIG, "configurations are changed where networks change shape"),
    Inside("_is_online", _CONFIG, "whether it learns from recorded episodes"),
    Inside("_rl_module_spec", _CONFIG, "the networks' class, to give it other shapes"),
    Inside("_module_spec", _GROUP, "the same of a learner group that runs"),
    Inside("_module_spec", _LEARNER, "and of a learner"),
    Inside("_log_trainable_parameters", _LEARNER, "counts anew what was taken out"),
    Inside("_optimizer_lr_schedules", _LEARNER, "learning rates' schedules, to be moved in time"),
    Inside("_optimizer_parameters", _LEARNER, "parameters that are replaced by smaller ones"),
    Inside("_params", _LEARNER, "likewise, and gradients before they are clipped"),
    Inside("_get_key", "utils.metrics.metrics_logger:MetricsLogger", "where a figure is kept"),
    Inside("_uncompiled_update", _LEARNER, "what a step on a minibatch is made of"),
    Inside("_update", _LEARNER, "where the lean update takes its place"),
    Inside("_create_iterator_if_necessary", _LEARNER, "likewise, for minibatches"),
    Inside("_compute_off_policyness", _LEARNER, "a part of a step"),
    Inside("_grad_scalers", _LEARNER, "whether steps are plain"),
    Inside("_learner_connector", _LEARNER, "what makes batches of episodes, item by item"),
    Inside("_get_clip_function", _LEARNER, "whether clipping is RLlib's own"),
    Inside("_lr_scheduler_classes", _LEARNER, "likewise"),
    Inside("_module_optimizers", _LEARNER, "which optimizers step"),
    Inside("_batch", _MINIBATCHES, "the batch that minibatches are views of"),
    Inside("_minibatch_size", _MINIBATCHES, "likewise, how many rows"),
    Inside("_num_epochs", _MINIBATCHES, "how often it is gone through"),
    Inside("_num_total_minibatches", _MINIBATCHES, "or how many there are"),
    Inside("_shuffle_batch_per_epoch", _MINIBATCHES, "whether it is shuffled each time"),
    Inside("_slice_seq_lens_in_B", "policy.sample_batch:SampleBatch", "whether rows are sequences"),
    Inside("_forward_train", _NETWORK, "a pass without RLlib's switching of modes"),
    Inside("_weights_seq_no", _LEARNER, "env runners take no weights of an old number"),
    Inside("_rl_modules", "core.rl_module.multi_rl_module:MultiRLModule", "networks by ModuleID"),
    Inside(
        "_forward_exploration",
        _NETWORK,
        "whether a network has a way of its own to explore",
    ),
    Inside("_device", _RUNNER, "where observations go"),
    Inside("_env_to_module", _RUNNER, "connectors, with the observation filters"),
    Inside("_module_to_env", _RUNNER, "connectors, with the stretching of actions"),
    Inside("_increase_sampled_metrics", _RUNNER, "env steps and episodes, counted as RLlib does"),
    Inside("_log_env_steps", _RUNNER, "likewise"),
    Inside("_metrics_num_env_steps_sampled", _RUNNER, "likewise"),
    Inside("_log_episode_metrics", _RUNNER, "returns and lengths of episodes, likewise"),
    Inside("_needs_initial_reset", _RUNNER, "evaluation begins episodes of its own seeds"),
    Inside("_ongoing_episodes", _RUNNER, "which episode is whose"),
    Inside("_reset_envs_and_episodes", _RUNNER, "likewise"),
    Inside("_reset_envs", _RUNNER, "where the lean env runner begins its rows"),
    Inside("_sample", _RUNNER, "what the lean env runner does in its own way"),
    Inside("_seed", _RUNNER, "a seed for each environment"),
    Inside("_try_env_reset", _RUNNER, "errors of environments, met as RLlib does"),
    Inside("_try_env_step", _RUNNER, "likewise"),
    Inside("_weights_seq_no", _RUNNER, "which weights an action came from"),
    Inside("_last_step_time", _EPISODE, "seconds that an episode took"),
    Inside("_start_time", _EPISODE, "likewise"),
    Inside("_local_config", _RUNNERS, "what runners are made anew with, of other shapes"),
    Inside("_remote_args", _RUNNERS, "likewise"),
    Inside("_remote_config", _RUNNERS, "likewise"),
    Inside("_remote_config_obj_ref", _RUNNERS, "likewise"),
    Inside("_indices", _BUFFER, "which steps of which episodes may be drawn"),
    Inside("_num_episodes_evicted", _BUFFER, "where an episode of a number lies"),
    Inside("_update_sample_metrics", _BUFFER, "figures of a sample, told as RLlib does"),
    Inside("_last_sampled_indices", _PRIORITIZED, "whose priorities are updated"),
    Inside("_min_segment", _PRIORITIZED, "the least priority"),
    Inside("_sum_segment", _PRIORITIZED, "the tree that rows are drawn from"),
    Inside("_tree_idx_to_sample_idx", _PRIORITIZED, "the step that a leaf stands for"),
    Inside("_custom_data", _EPISODE, "what users have attached to an episode"),
    Inside("_learner", _GROUP, "the learner in this process"),
    Inside("_make_batch_if_necessary", _LEARNER, "where drawn batches come in"),
    Inside("_filters", _FILTER, "the statistics of observations, applied to all at once"),
    Inside("_init_new_filters", _FILTER, "statistics of nothing yet"),
    Inside("_multi_agent", _FILTER, "whether they are of one agent"),
    Inside("_update_stats", _FILTER, "filters learn nothing from evaluation"),
    Inside(
        "_action_space_struct",
        "connectors.module_to_env.normalize_and_clip_actions:NormalizeAndClipActions",
        "the bounds that actions are stretched to",
    ),
    Inside(
        "_keys_to_remove",
        "connectors.common.flatten_observations:FlattenObservations",
        "whether a description would miss parts of observations",
    ),
    Inside(
        "_multi_agent",
        "connectors.common.frame_stacking:FrameStacking",
        "whether frames are of one agent",
    ),
    Inside("_schedule", "utils.schedules.scheduler:Scheduler", "a schedule's points"),
    Inside("_learner_thread", _IMPALA, "the thread that updates, to be paused"),
    Inside("_learner_thread_in_queue", _IMPALA, "batches that wait"),
    Inside("_gpu_loader_in_queue", _IMPALA, "likewise"),
    Inside("_gpu_loader_threads", _IMPALA, "likewise"),
    Inside("_learner_state", _IMPALA, "the state that it shares"),
    Inside("_learner_state_queue", _IMPALA, "likewise"),
    Inside("_in_queue", _IMPALA_THREAD, "likewise"),
    Inside("_update_method", _IMPALA_THREAD, "what it calls for each batch, to wait before it"),
    Inside("_last_update_ts_by_mid", _APPO, "when target networks were updated"),
    Inside("_rng", "algorithms.appo.utils:CircularBuffer", "which batches are drawn"),
    Inside(
        "_temp_losses",
        "algorithms.sac.torch.sac_torch_learner:SACTorchLearner",
        "the actor's loss, to which distillation adds",
    ),
    Inside("_cats", f"{_DISTRIBUTIONS}:TorchMultiCategorical", "parts of a policy's distribution"),
    Inside("_dist", f"{_DISTRIBUTIONS}:TorchDistribution", "torch's own distribution"),
    Inside("_flat_child_distributions", f"{_DISTRIBUTIONS}:TorchMultiDistribution", "likewise"),
)
