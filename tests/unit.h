/* unit.h - what the unit tests share: cmocka with what it needs, the error that a call leaves, and OK. */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/status.h"

static rw_error err;
#define OK(e)                                           \
  do {                                                  \
    if ((e) != RW_OK) fail_msg("%s: %s", #e, err.text); \
  } while (0)

#endif
