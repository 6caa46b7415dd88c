/* SPDX-License-Identifier: MIT */
/* feature: required pkg=jansson>=2.7 deb=libjansson-dev */
/* JSON with a depth limit and refusal of duplicate keys. */
#include <jansson.h>

int main(void)
{
	json_t *j = json_loadb("{}", 2, JSON_REJECT_DUPLICATES, NULL);

	json_decref(j);
	return 0;
}
