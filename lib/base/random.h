/* SPDX-License-Identifier: MIT */
/*
 * Numbers that look random and are the same each time: for samples, simulations and tests. Each
 * generator has one word of state, which the caller sets; nothing here is fit for secrets.
 */
#ifndef WR_BASE_RANDOM_H
#define WR_BASE_RANDOM_H

#include <stdint.h>

/*
 * Every bit of @x reaches every bit of the result, and no two of them have the same: the finaliser
 * of splitmix64 (Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators, 2014).
 */
static inline uint64_t wr_mix64(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

/* Any state will do; all 2^64 numbers come, in an order that depends on nothing but where it begins. */
static inline uint64_t wr_splitmix64(uint64_t *state)
{
	*state += 0x9e3779b97f4a7c15u;
	return wr_mix64(*state);
}

/* Marsaglia, Xorshift RNGs, 2003: the triple 13, 7, 17. Not from 0. */
static inline uint64_t wr_xorshift64(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* The same, 13, 17, 5. Not from 0. */
static inline uint32_t wr_xorshift32(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

/* Knuth's, of MMIX; the low bits are poor. */
static inline uint64_t wr_lcg64(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state;
}

/* What @random says of 0 to @n - 1, by its high half. */
static inline uint32_t wr_random_below(uint64_t random, uint32_t n)
{
	return (uint32_t)((random >> 32) * n >> 32);
}

/* And of 0 to below 1. */
static inline double wr_random_unit(uint64_t random)
{
	return (double)(random >> 11) * 0x1p-53;
}

#endif /* WR_BASE_RANDOM_H */
