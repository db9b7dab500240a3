/* Assertions for programmer errors; they stay in release builds. Input is checked, not asserted. */
#ifndef BASE_ASSERT_H
#define BASE_ASSERT_H

#define ASSERT(cond) ((cond) ? (void)0 : assert_failed(#cond, __FILE__, __LINE__, __func__))

/* Objects that travel through void pointers begin with a magic word, checked at each cast back. */
#define ASSERT_MAGIC(object, value) ASSERT((object) && (object)->magic == (value))

#ifdef NDEBUG
#    define ASSERT_HOT(cond) ((void)sizeof(cond))
#else
#    define ASSERT_HOT(cond) ASSERT(cond)
#endif

void assert_failed(const char *cond, const char *file, int line, const char *func)
    __attribute__((noreturn, cold));

#endif
