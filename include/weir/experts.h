/* SPDX-License-Identifier: MIT */
/**
 * weir/experts.h - The experts of a mixture, each on its own, in the context's cache.
 *
 * Of a mixture of experts a token uses all of the attention and a few of the experts of each
 * layer. The first is a stream (weir/stream.h, with WEIR_PLAN_NO_EXPERTS): its order is known.
 * Which experts come the router says, layer by layer, so they are entries of the context's cache,
 * of the class WEIR_CLASS_EXPERTS: one entry holds an expert's part of all tensors of a layer.
 *
 * Both share one budget. weir_experts_share() divides it: what a token uses for certain stays
 * first, since no expert saves more by staying; the rest is the experts'. Then
 *
 *	cache_opts.l2_budget = share.cache_bytes;           options of weir_open(), whose
 *	opts.budget_bytes = budget;                         budget holds both
 *	plan.flags = WEIR_PLAN_NO_EXPERTS;
 *	plan.budget_bytes = share.stream_bytes;
 *
 * and for each layer, when its router has chosen:
 *
 *	rc = weir_experts_get(experts, layer, chosen, nr, pins, NULL);
 *	for (i = 0; rc >= 0 && i < nr; i++) {
 *		for (v = 0; !weir_experts_view(experts, layer, chosen[i], &pins[i], v, &view); v++)
 *			compute(view.tensor, view.first_row, view.data, view.bytes);
 *		weir_cache_put(weir_get_cache(weir), &pins[i]);
 *	}
 *
 * Experts are those that a checkpoint stacks in one tensor of a layer (nr_slices of struct
 * weir_tensor is above 1), as Qwen3-VL and GGUF do, or that have tensors of their own (its expert
 * is 0 or more), as in most other checkpoints. An entry is all that is of one expert.
 */
#ifndef WEIR_EXPERTS_H
#define WEIR_EXPERTS_H

#include <weir/base.h>
#include <weir/cache.h>
#include <weir/load.h>
#include <weir/stream.h>
#include <weir/weights.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir;
struct weir_experts;

/**
 * struct weir_experts_share - A budget, divided.
 * @stream_bytes: For the stream of what is no expert.
 * @cache_bytes:  For the cache: all else.
 * @dense_bytes:  What a token uses for certain.
 * @cycle_bytes:  What a token uses, @dense_bytes and the experts it chooses.
 * @all_bytes:    @dense_bytes and all experts.
 * @expert_bytes: The largest expert in memory, with what is read around it.
 * @min_bytes:    The smallest budget that can be divided.
 * @nr_together:  Experts that the cache can hold pinned at once, of those a layer chooses. Fewer
 *                than these: get them one set after the other.
 * @below_cycle:  1: the budget is less than a token uses, so that an order by recency would find
 *                nothing again. The attention that stays is still found, and of the experts what
 *                the policy keeps against recency (auto, loop, lfu).
 */
struct weir_experts_share {
	uint64_t stream_bytes;
	uint64_t cache_bytes;
	uint64_t dense_bytes;
	uint64_t cycle_bytes;
	uint64_t all_bytes;
	uint64_t expert_bytes;
	uint64_t min_bytes;
	uint32_t nr_together;
	uint32_t below_cycle;
};

/**
 * struct weir_experts_info - What there is.
 * @nr_layers:    Layers with experts, numbered from 0 in the order of use.
 * @nr_experts:   Of the layer that has most.
 * @expert_bytes: The largest entry, with what is read around it.
 * @all_bytes:    Sum of all entries.
 */
struct weir_experts_info {
	uint32_t nr_layers;
	uint32_t nr_experts;
	uint64_t expert_bytes;
	uint64_t all_bytes;
};

/**
 * weir_experts_share() - Divide a budget between what is always used and the experts.
 * @model:        The model.
 * @plan:         Of the stream, or NULL; WEIR_PLAN_NO_EXPERTS is added to it, its budget is not
 *                looked at.
 * @budget_bytes: What there is for both.
 * @nr_chosen:    Experts of a layer that a token uses, at least 1.
 * @ret:          On success all of it; with -ENOSPC all but the first two.
 * @err:          On failure: why; for -ENOSPC the smallest budget that would do. May be NULL.
 *
 * Of a model without experts all is the stream's.
 *
 * Context: Any thread. Reads nothing. Calls @plan->visit.
 * Return:  0, -EINVAL, -E2BIG, -EFBIG (as weir_units_open()), -ENOSPC (too small), -ENOMEM.
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_experts_share(const struct weir_model *model,
						const struct weir_plan *plan, uint64_t budget_bytes,
						uint32_t nr_chosen, struct weir_experts_share *ret,
						struct weir_error *err);

/**
 * weir_experts_open() - Make the experts of a model known to the context's cache.
 * @weir:  The context, opened with a cache; must outlive the experts.
 * @model: The model; must outlive the experts.
 * @ret:   The experts; untouched on failure.
 * @err:   On failure: why. May be NULL.
 *
 * Opens the model's files, checks that they are the ones that were indexed, and reads nothing
 * yet. The cache must have room for so many entries (nr_entries of its options).
 *
 * Context: Any thread. May block.
 * Owner:   The caller, until weir_experts_close().
 * Cost:    Some 350 bytes of memory an expert.
 * Return:  0, -EINVAL (the context has no cache), -ENODATA (the model has no experts), -ESTALE (a
 *          file changed since the model was opened), -EOVERFLOW, -ENOENT, -EACCES, -EMFILE,
 *          -ENOMEM, -EIO, -EOPNOTSUPP (see weir_io_file_open()).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_experts_open(struct weir *weir, const struct weir_model *model,
					       struct weir_experts **ret, struct weir_error *err);

/**
 * weir_experts_close() - Take the experts out of the cache.
 * @experts: The experts, or NULL. No pin of them may be held.
 *
 * Context: Any thread, when no other uses them. May block: for reads to end.
 * Since:   0.1
 */
WEIR_API void weir_experts_close(struct weir_experts *experts);

/**
 * weir_experts_info() - What there is.
 * @experts: The experts.
 * @ret:     Filled.
 *
 * Context: Any thread. Takes no lock.
 * Since:   0.1
 */
WEIR_API void weir_experts_info(const struct weir_experts *experts, struct weir_experts_info *ret);

/**
 * weir_experts_layer() - The layer with experts that a group of the model is.
 * @experts: The experts.
 * @group:   Index for weir_model_group().
 *
 * Context: Any thread. Takes no lock.
 * Return:  Its number, 0 or more; -ENOENT (the group has no experts).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_experts_layer(const struct weir_experts *experts, uint32_t group);

/**
 * weir_experts_item() - An expert as the cache knows it.
 * @experts: The experts.
 * @layer:   0 to nr_layers - 1.
 * @expert:  0 to the layer's number of experts - 1.
 * @ret:     Filled; untouched on failure. Its name is "experts.LAYER.EXPERT", with the number of
 *           the model's layer. Valid as long as the experts.
 *
 * For weir_cache_need(), weir_cache_plan(), weir_cache_rule() and their like. In memory it is
 * @ret->bytes long.
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, -EINVAL (there is no such expert).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_experts_item(const struct weir_experts *experts, uint32_t layer,
					       uint32_t expert, struct weir_cache_item *ret);

/**
 * weir_experts_get() - Pin the experts that a layer has chosen.
 * @experts: The experts.
 * @layer:   0 to nr_layers - 1.
 * @chosen:  Array of @nr numbers of experts.
 * @nr:      How many, 1 to 256.
 * @pins:    Array of @nr pins, in the order of @chosen, each to be put with weir_cache_put(). On
 *           failure none is held.
 * @err:     On failure: which file, or why. May be NULL.
 *
 * What is not in memory is read side by side.
 *
 * Context: Any thread. May block, until the bytes are there.
 * Owner:   The caller, of the pins.
 * Return:  How many of them were in memory, 0 to @nr; -EINVAL (there is no such expert), or the
 *          codes of weir_cache_get_all() and weir_io_read().
 * Since:   0.1
 */
WEIR_API int64_t weir_experts_get(struct weir_experts *experts, uint32_t layer,
				  const uint32_t *chosen, size_t nr, struct weir_pin *pins,
				  struct weir_error *err);

/**
 * weir_experts_likely() - A layer will choose these, probably.
 * @experts:  The experts.
 * @layer:    0 to nr_layers - 1.
 * @likely:   Array of @nr numbers of experts, likeliest first.
 * @nr:       How many, 1 to 256.
 * @permille: How probable each is, 1 to 1000.
 *
 * As weir_cache_likely(). Never changes what is got, only when it is there.
 *
 * Context: Any thread. Does not block.
 * Return:  How many reads began; -EINVAL, -ECANCELED.
 * Since:   0.1
 */
WEIR_API int64_t weir_experts_likely(struct weir_experts *experts, uint32_t layer,
				     const uint32_t *likely, size_t nr, uint32_t permille);

/**
 * weir_experts_foresee() - Have the cache foresee which experts come, and read them ahead.
 * @experts: The experts.
 * @err:     On failure: why. May be NULL.
 *
 * As weir_cache_ahead() of the class WEIR_CLASS_EXPERTS, with all experts declared: from those that
 * a layer chose follow those of the next, as far as the routing has shown. weir_experts_close()
 * switches it off, for the whole cache.
 *
 * Context: Any thread, once for a cache. Starts a thread of the cache.
 * Return:  0, -EINVAL (more than 256 experts in a layer), -EALREADY (the cache does), -ENOSPC,
 *          -ENOMEM, -EAGAIN (no thread).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_experts_foresee(struct weir_experts *experts,
						  struct weir_error *err);

/**
 * weir_experts_view() - The bytes of one tensor's slice of a pinned expert.
 * @experts: The experts.
 * @layer:   As it was got.
 * @expert:  As it was got.
 * @pin:     Of it, held.
 * @index:   0 to the number of the layer's expert tensors - 1, in the order of execution.
 * @ret:     The view; untouched on failure. Valid until the pin is put.
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, -EINVAL (there is no such expert or index).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_experts_view(const struct weir_experts *experts, uint32_t layer,
					       uint32_t expert, const struct weir_pin *pin,
					       uint32_t index, struct weir_view *ret);

#ifdef __cplusplus
}
#endif

#endif /* WEIR_EXPERTS_H */
