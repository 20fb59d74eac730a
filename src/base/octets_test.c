#include "base/octets.h"

#include "base/test.h"

static octets16 none(octets16 x)
{
        return x ^ x;
}

static octets16 odd(octets16 x)
{
        return octets_above_ascii(x) | octets_below(x, 33) | octets_equal(x, 127) |
               octets_equal(x, ':');
}

static bool is_odd(unsigned char c)
{
        return c > 126 || c < 33 || c == ':';
}

TEST(every_octet_at_every_place)
{
        char text[40];

        for (size_t len = 0; len <= sizeof text; len++) {
                memset(text, 'a', sizeof text);
                assert_int_equal(octets_until(span_make(text, len), odd), len);
                assert_int_equal(octets_until(span_make(text, len), none), len);
                for (size_t at = 0; at < len; at++) {
                        for (unsigned c = 0; c < 256; c++) {
                                text[at] = (char) c;
                                assert_int_equal(octets_until(span_make(text, len), odd),
                                                 is_odd((unsigned char) c) ? at : len);
                        }
                        text[at] = 'a';
                }
        }
}

TEST(neighbours_do_not_matter)
{
        char text[17];

        for (unsigned a = 0; a < 256; a++) {
                for (unsigned b = 0; b < 256; b++) {
                        memset(text, (int) b, sizeof text);
                        memset(text, 'a', 3);
                        text[3] = (char) a;
                        assert_int_equal(octets_until(span_make(text, sizeof text), odd),
                                         is_odd((unsigned char) a)   ? 3
                                         : is_odd((unsigned char) b) ? 4
                                                                     : sizeof text);
                }
        }
}

TEST(names_are_of_letters_digits_dots_and_hyphens)
{
        for (unsigned c = 0; c < 256; c++) {
                const bool is_of_name = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                                        (c >= '0' && c <= '9') || c == '.' || c == '-';

                assert_int_equal(octets_bits(octets_beyond_names(octets_all((char) c))),
                                 is_of_name ? 0 : 0xffff);
        }
}

TEST(octets_above_ascii_are_no_others)
{
        for (unsigned c = 128; c < 256; c++) {
                const octets16 x = octets_all((char) c);

                assert_int_equal(octets_bits(octets_below(x, 127)), 0);
                assert_int_equal(octets_bits(octets_equal(x, (char) (c - 128))), 0);
                assert_int_equal(octets_bits(octets_above_ascii(x)), 0xffff);
        }
}

TEST_MAIN()
