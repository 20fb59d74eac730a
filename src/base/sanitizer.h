/* Whether AddressSanitizer is built in. It takes terabytes of address space, looks at
 * /proc and makes threads of its own: what forbids that makes room for it. */
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IS_SANITIZED 1
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED 0
#endif
