/* SPDX-License-Identifier: MIT */
/*
 * What a tensor's name says about where a forward pass uses it.
 */
#ifndef WR_WEIGHTS_PLACE_H
#define WR_WEIGHTS_PLACE_H

#include <stdbool.h>
#include <stdint.h>

/* Groups of one kind follow each other in this order. */
enum wr_stage {
	WR_STAGE_NONE = 0,
	WR_STAGE_VISION_FIRST = 1,  /* patches and positions */
	WR_STAGE_VISION_BLOCKS = 2, /* blocks, each with what taps it right behind */
	WR_STAGE_VISION_LAST = 3,   /* merger, projector */
};

/* Slot of a name that no rule knows: after all others, in file order. */
#define WR_SLOT_UNKNOWN 1000u

struct wr_place {
	uint8_t kind; /* enum weir_group_kind */
	uint8_t stage;
	bool tap;	   /* a deepstack merger, behind block @layer */
	bool tap_by_index; /* @layer is the number of the merger, not yet of the block */
	int32_t layer;	   /* -1: none */
	uint32_t prefix;   /* bytes of the name up to the layer's number, of decoder layers */
	uint16_t slot;	   /* order within the group */
	uint32_t expert;   /* of tensors that hold one expert each */
	uint8_t part;	   /* of an expert */
	uint8_t tail;	   /* weight before bias */
	bool stacked;	   /* holds all experts of a layer, outermost */
	bool single;	   /* holds one, @expert */
};

struct wr_place wr_place_of(const char *name);

#endif /* WR_WEIGHTS_PLACE_H */
