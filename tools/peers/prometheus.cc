// SPDX-License-Identifier: MIT
// prometheus-cpp as `weir bench metrics` measures it: its own types, used as its examples do, from
// loops on this side of the call.
#include "prometheus.h"

#include <memory>
#include <sstream>
#include <string>

#include <time.h>

#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

struct wr_peer_prometheus {
	prometheus::Registry registry;
	prometheus::Registry many;
	prometheus::Counter *counter;
	prometheus::Histogram *histogram;
};

extern "C" __attribute__((visibility("default"))) wr_peer_prometheus *wr_peer_prometheus_open(
	uint32_t nr_series, const double *bounds, size_t nr_bounds)
{
	auto *peer = new wr_peer_prometheus;
	auto &many = prometheus::BuildCounter()
			     .Name("bench_many_total")
			     .Help("Many")
			     .Register(peer->many);

	peer->counter = &prometheus::BuildCounter()
				 .Name("bench_adds_total")
				 .Help("Adds")
				 .Register(peer->registry)
				 .Add({});
	peer->histogram =
		&prometheus::BuildHistogram()
			 .Name("bench_values")
			 .Help("Values")
			 .Register(peer->registry)
			 .Add({},
			      prometheus::Histogram::BucketBoundaries(bounds, bounds + nr_bounds));
	for (uint32_t i = 0; i < nr_series; i++)
		many.Add({{"series", std::to_string(i)}}).Increment(i);
	return peer;
}

extern "C" __attribute__((visibility("default"))) void wr_peer_prometheus_close(
	wr_peer_prometheus *peer)
{
	delete peer;
}

extern "C" __attribute__((visibility("default"))) void wr_peer_prometheus_add(
	wr_peer_prometheus *peer, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		peer->counter->Increment();
}

extern "C" __attribute__((visibility("default"))) void wr_peer_prometheus_observe(
	wr_peer_prometheus *peer, const uint64_t *values, size_t nr, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		peer->histogram->Observe(static_cast<double>(values[i % nr]));
}

extern "C" __attribute__((visibility("default"))) size_t wr_peer_prometheus_export(
	wr_peer_prometheus *peer, uint64_t *ret_ns)
{
	auto families = peer->many.Collect();
	std::ostringstream out;
	struct timespec start, end;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);

	prometheus::TextSerializer{}.Serialize(out, families);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
	*ret_ns = static_cast<uint64_t>((end.tv_sec - start.tv_sec) * 1000000000 + end.tv_nsec -
					start.tv_nsec);
	return out.str().size();
}
