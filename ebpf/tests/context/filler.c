/* A library with thread-local storage of its own: one more module. */
__thread volatile char filler[SIZE];

char touch(void) { return filler[0] = 1; }
