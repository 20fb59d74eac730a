#include "wire/sasl_words.h"

bool sasl_words_is_base64(struct span s)
{
        for (size_t i = 0; i < s.len; i++) {
                const char c = ascii_lower(s.p[i]);

                if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/'
                      || c == '='))
                        return false;
        }
        return true;
}

bool sasl_words_find(struct span announced, struct span name, struct span *ret)
{
        struct span word;

        while (span_split(&announced, ' ', &word)) {
                if (word.len && span_equal_nocase(word, name)) {
                        *ret = word;
                        return true;
                }
        }
        return false;
}
