/* The first three rows are right: what stands behind "section" is no code. */
static const struct {
        int code;
        const char *enhanced, *text;
} replies[] = {
        { 250, "2.1.5", "Recipient ok" },
        { 500, "5.5.2", "CR within a line (RFC 5321 section 2.3.8)" },
        { 0, "", "554 5.6.0 The message contains a NUL" },
        { 550, "5.1.11", "No such user" },
        { 550, "5.8.0", "No such subject" },
        { 451, "5.3.0", "Later, or never" },
        { 0, "", "552 Message too big" },
        { 0, "", "452 5.3.1 Not enough room" },
        { 554, "4.4.6 Too many hops", "" },
};

static const struct {
        int code, enhanced[3];
} reply_numbers[] = {
        { 421, { 4, 3, 2 } },
        { 450, { 5, 2, 0 } },
        { 452, { 4, 3, 7 } },
};
