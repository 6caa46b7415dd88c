/* SPDX-License-Identifier: MIT */
/**
 * weir/key.h - What a cached thing is called: 128 bits, all of them used.
 *
 * A key is the hash of what makes the bytes what they are: the identity of a
 * model's file and a place in it, or a host's own name for a block of a KV cache.
 * Two things with one key are one thing. Keys are compared and stored, never
 * taken apart; they are written as 32 hexadecimal digits, @hi first.
 */
#ifndef WEIR_KEY_H
#define WEIR_KEY_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct weir_key - The name of one thing that can be cached.
 * @hi: the upper 64 bits
 * @lo: the lower 64 bits; as good a hash as @hi, so either will do where 64 are enough
 *
 * A plain value: copied, never owned. All zeroes is a key like any other. The bits
 * ought to be evenly spread; keys that are not make tables slow, not wrong.
 */
struct weir_key {
	uint64_t hi;
	uint64_t lo;
};

/**
 * weir_key_equal() - Whether two keys name one thing.
 * @a: one key
 * @b: the other
 *
 * Any thread; takes no lock.
 * Return: true when all 128 bits are the same.
 */
static inline bool weir_key_equal(struct weir_key a, struct weir_key b)
{
	return a.hi == b.hi && a.lo == b.lo;
}

#ifdef __cplusplus
}
#endif

#endif /* WEIR_KEY_H */
