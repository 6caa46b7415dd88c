/* SPDX-License-Identifier: MIT */
/* feature: optional tools pkg=libmicrohttpd>=0.9.70 deb=libmicrohttpd-dev */
/* The HTTP server of `weir exporter`. */
#include <microhttpd.h>

int main(void)
{
	return MHD_get_version() == NULL;
}
