#include "message/status_code.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>

/* Up to three digits without a leading zero (RFC 3463 section 2). */
static bool take_number(struct span *s, uint16_t *ret)
{
        unsigned value = 0;
        size_t n = 0;

        while (n < s->len && n < 3 && s->p[n] >= '0' && s->p[n] <= '9')
                value = value * 10 + (unsigned) (s->p[n++] - '0');
        if (n == 0 || (n > 1 && s->p[0] == '0'))
                return false;
        *s = span_skip(*s, n);
        *ret = (uint16_t) value;
        return true;
}

static bool take_dot(struct span *s)
{
        if (s->len == 0 || s->p[0] != '.')
                return false;
        *s = span_skip(*s, 1);
        return true;
}

/* Takes a code off the front, whatever follows. */
static bool take(struct span *s, struct status_code *ret)
{
        struct status_code c;
        uint16_t class;

        if (!take_number(s, &class) || (class != 2 && class != 4 && class != 5) || !take_dot(s)
            || !take_number(s, &c.subject) || !take_dot(s) || !take_number(s, &c.detail))
                return false;
        c.class = (uint8_t) class;
        *ret = c;
        return true;
}

int status_code_parse(struct span text, struct status_code *ret)
{
        struct status_code c;

        if (!take(&text, &c) || text.len)
                return -EINVAL;
        *ret = c;
        return 0;
}

bool status_code_take(struct span *text, unsigned reply_code, struct status_code *ret)
{
        struct span rest = *text;
        struct status_code c;

        if (!take(&rest, &c) || (reply_code && c.class != reply_code / 100))
                return false;
        if (rest.len && rest.p[0] != ' ')
                return false;
        *text = span_skip(rest, 1);
        *ret = c;
        return true;
}

struct status_code status_code_of_reply(unsigned reply_code)
{
        static const struct {
                uint16_t reply_code;
                struct status_code code;
        } rows[] = {
                { 421, { 4, 3, 2 } }, { 450, { 4, 2, 0 } }, { 451, { 4, 3, 0 } },
                { 452, { 4, 3, 1 } }, { 521, { 5, 3, 2 } }, { 530, { 5, 7, 0 } },
                { 535, { 5, 7, 8 } }, { 551, { 5, 1, 6 } }, { 552, { 5, 2, 2 } },
                { 553, { 5, 1, 3 } }, { 556, { 5, 1, 10 } },
        };

        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
                if (rows[i].reply_code == reply_code)
                        return rows[i].code;
        if (reply_code >= 200 && reply_code < 300)
                return (struct status_code) {2, 0, 0};
        return (struct status_code) {reply_code >= 500 ? 5 : 4, 0, 0};
}

const char *status_code_format(struct status_code c, char *out)
{
        snprintf(out, STATUS_CODE_TEXT_MAX, "%u.%u.%u", c.class % 10u, c.subject % 1000u,
                 c.detail % 1000u);
        return out;
}

/* Rows with detail ANY speak for a whole subject and stand behind the exact
 * ones. The class is not looked at: whether it is for good stands elsewhere in
 * a notification. */
enum { ANY = 0xffff };

static const struct {
        uint16_t subject, detail;
        const char *text[2];
} explanations[] = {
        { 1, 1, { "That address does not exist there. Please check how it is spelled.",
                  "宛先のアドレスは存在しません。つづりをお確かめください。" } },
        { 1, 2, { "The part of the address behind the @ does not exist. Please check how it is "
                  "spelled.",
                  "アドレスの@より後ろのドメインは存在しません。つづりをお確かめください。" } },
        { 1, 3, { "The address is not written as addresses are. Please check how it is spelled.",
                  "宛先のアドレスの書き方が正しくありません。つづりをお確かめください。" } },
        { 1, 6, { "The mailbox has moved and left no new address. Please ask its owner in another "
                  "way.",
                  "宛先は移転しており、新しいアドレスは分かりません。別の方法で相手にお尋ねください。" } },
        { 1, 7, { "The other side does not accept your own address as it is written.",
                  "差出人（あなた）のアドレスの書き方を相手側が受け付けません。" } },
        { 1, 8, { "The other side could not verify your own address. Please ask your "
                  "administrator.",
                  "差出人（あなた）のアドレスを相手側が確認できません。管理者にご相談ください。" } },
        { 1, 10, { "That domain says that it receives no mail at all. Please check the address.",
                   "このドメインはメールを受け取らないと宣言しています。アドレスをお確かめください。" } },
        { 1, ANY, { "There is something wrong with the address. Please check how it is spelled.",
                    "宛先のアドレスに問題があります。つづりをお確かめください。" } },
        { 2, 1, { "The mailbox is switched off. Please ask its owner in another way.",
                  "宛先のメールボックスは使用停止中です。別の方法で相手にお尋ねください。" } },
        { 2, 2, { "The mailbox is full. Please tell its owner in another way, or send again later.",
                  "宛先のメールボックスが一杯です。別の方法で相手に伝えるか、後でもう一度お送りください。" } },
        { 2, 3, { "The message is larger than the mailbox takes. Please send it in parts or by "
                  "other means.",
                  "メールが大きすぎて相手のメールボックスに入りません。分割するか、別の方法でお送りください。" } },
        { 2, ANY, { "The mailbox exists, but takes no mail at present.",
                    "宛先のメールボックスは現在メールを受け取れません。" } },
        { 3, 1, { "The disk of the other side is full.", "相手側のサーバーの容量が不足しています。" } },
        { 3, 4, { "The message is larger than that system takes. Please send it in parts or by "
                  "other means.",
                  "メールが大きすぎて相手側のサーバーが受け取りません。分割するか、別の方法でお送りください。" } },
        { 3, ANY, { "The mail system of the other side has a problem of its own.",
                    "相手側のメールシステムに問題があります。" } },
        { 4, 1, { "The mail server of the other side does not answer.",
                  "相手側のメールサーバーが応答しません。" } },
        { 4, 4, { "It is not known where mail for that domain goes. Please check the part behind "
                  "the @.",
                  "このドメインの配送先が分かりません。@より後ろをお確かめください。" } },
        { 4, 6, { "The message goes round in a circle. Please tell the administrator of the other "
                  "side.",
                  "メールが同じ所を回り続けています。相手側の管理者にお知らせください。" } },
        { 4, 7, { "It was tried until the time allowed for it was over.",
                  "配送を試み続けましたが、期限が過ぎました。" } },
        { 4, ANY, { "The mail server of the other side could not be reached.",
                    "相手側のメールサーバーに接続できません。" } },
        { 5, 3, { "The message has more recipients than are taken at once. Please send it to "
                  "fewer.",
                  "宛先の数が多すぎます。数を減らしてお送りください。" } },
        { 5, ANY, { "The two mail servers did not understand each other. Please tell your "
                    "administrator.",
                    "メールサーバー同士の通信に問題がありました。管理者にご相談ください。" } },
        { 6, ANY, { "The other side cannot take the contents of the message in this form.",
                    "メールの内容または形式を相手側が受け取れません。" } },
        { 7, 1, { "The other side refuses this message by its rules. If you think that is wrong, "
                  "ask its administrator.",
                  "相手側の規則により受け取りが拒否されました。心当たりがなければ相手側の管理者にお尋ねください。" } },
        { 7, 2, { "You may not send to this mailing list. Please ask its owner.",
                  "このメーリングリストには投稿できません。管理者にお尋ねください。" } },
        { 7, ANY, { "The other side refuses this message by its rules or for safety. If you think "
                    "that is wrong, "
                    "ask its administrator.",
                    "相手側の規則または安全上の理由により拒否されました。心当たりがなければ相手側の管理者にお尋ねください。" } },
};

const char *status_code_explain(struct status_code c, enum status_language language)
{
        static const char *const nothing[] = {
                "The other side gave no reason that can be explained further.",
                "これ以上の詳しい理由は分かりません。",
        };
        const size_t which = language == STATUS_JAPANESE;

        for (size_t i = 0; i < sizeof explanations / sizeof explanations[0]; i++)
                if (explanations[i].subject == c.subject
                    && (explanations[i].detail == c.detail || explanations[i].detail == ANY))
                        return explanations[i].text[which];
        return nothing[which];
}
