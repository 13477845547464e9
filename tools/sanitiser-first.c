/* Loaded before every other library: wakes the sanitiser by a malloc() while nobody holds a lock of the C library's. */
#include <stdlib.h>

static void *volatile kept;

static void __attribute__((constructor))
wake_sanitiser(void)
{
	kept = malloc(1);
	free(kept);
}
