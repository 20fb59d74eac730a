/* Writing the transfer encodings of MIME: RFC 2045 sections 6.7 and 6.8, and
 * the encoded words of RFC 2047. Pure. */
#pragma once

#include "base/buffer.h"
#include "base/span.h"

/* base64 in lines of 76 with CRLF behind each. All append, and return 0 or
 * what buffer_append() does; on failure a part may have been appended. */
int transfer_encode_base64(struct span text, struct buffer *out);

/* quoted-printable of text whose lines end with CRLF; a bare CR or LF is
 * encoded. Ends with a CRLF unless `text` is empty. */
int transfer_encode_quoted(struct span text, struct buffer *out);

/* "=?UTF-8?B?…?=", as many as UTF-8 text needs, folded between them (RFC 2047
 * section 2); ASCII goes as it is. For unstructured fields. */
int transfer_encode_words(struct span text, struct buffer *out);
