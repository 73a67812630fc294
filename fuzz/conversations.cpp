// Any bytes as a conversation in JSON.
#include "assay/chat.h"
#include "target.h"

namespace assay {

FUZZ_TARGET(conversations) {
  accepts([&] { user_message(text_of(input), "fuzz"); });
  accepts([&] {
    const Conversation read = parse_conversation(text_of(input), "fuzz");
    const Conversation again = parse_conversation(read.messages, "fuzz");
    require(again.messages == read.messages, "messages stay when they are read again");
  });
}

}  // namespace assay
