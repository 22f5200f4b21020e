// The values of TraceData.tla, read from a file in TLA+'s notation: names, each with a value.
// Never judges a value, and knows no more of the notation than traces need.
//
// Source: TLC 2.15, which takes a module's definitions from the class of its name.

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import tlc2.value.impl.BoolValue;
import tlc2.value.impl.FcnRcdValue;
import tlc2.value.impl.IntValue;
import tlc2.value.impl.RecordValue;
import tlc2.value.impl.SetEnumValue;
import tlc2.value.impl.StringValue;
import tlc2.value.impl.TupleValue;
import tlc2.value.impl.Value;
import util.UniqueString;

public final class TraceData {
    private static final Map<String, Value> ALL = new Reader().all();

    public static Value Configs() {
        return ALL.get("Configs");
    }

    public static Value Messages() {
        return ALL.get("Messages");
    }

    public static Value States() {
        return ALL.get("States");
    }

    public static Value Writes() {
        return ALL.get("Writes");
    }

    public static Value Walks() {
        return ALL.get("Walks");
    }

    private static final class Reader {
        private final Map<String, Value> all = new HashMap<>();
        private final Map<String, Value> texts = new HashMap<>();
        private final String text;
        private int at;

        Reader() {
            try {
                byte[] bytes = Files.readAllBytes(Path.of("TraceData.values"));
                text = new String(bytes, StandardCharsets.US_ASCII);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }

        Map<String, Value> all() {
            for (skip(); at < text.length(); skip()) {
                String name = word();
                must("==");
                Value value = value();
                // Threads of TLC share it, and each would put it in order.
                value.deepNormalize();
                all.put(name, value);
            }
            return all;
        }

        private void skip() {
            while (at < text.length() && text.charAt(at) <= ' ') {
                at++;
            }
        }

        private boolean has(String what) {
            skip();
            boolean is = text.startsWith(what, at);
            at += is ? what.length() : 0;
            return is;
        }

        private void must(String what) {
            if (!has(what)) {
                throw new IllegalStateException("no " + what + " at " + at);
            }
        }

        private String word() {
            skip();
            int from = at;
            while (Character.isLetterOrDigit(text.charAt(at)) || text.charAt(at) == '-') {
                at++;
            }
            return text.substring(from, at);
        }

        private Value value() {
            if (has("<<")) {
                return new TupleValue(values(">>"));
            } else if (has("{")) {
                return new SetEnumValue(values("}"), false);
            } else if (has("[")) {
                return record();
            } else if (has("(")) {
                return function();
            } else if (has("\"")) {
                int end = text.indexOf('"', at);
                String content = text.substring(at, end);
                at = end + 1;
                return texts.computeIfAbsent(content, StringValue::new);
            }
            String word = word();
            if (word.equals("TRUE") || word.equals("FALSE")) {
                return word.equals("TRUE") ? BoolValue.ValTrue : BoolValue.ValFalse;
            } else if (all.containsKey(word)) {
                must("[");
                int place = Integer.parseInt(word());
                must("]");
                return ((TupleValue) all.get(word)).elems[place - 1];
            }
            return IntValue.gen(Integer.parseInt(word));
        }

        private Value[] values(String end) {
            List<Value> items = new ArrayList<>();
            if (!has(end)) {
                do {
                    items.add(value());
                } while (has(","));
                must(end);
            }
            return items.toArray(new Value[0]);
        }

        private Value record() {
            List<UniqueString> names = new ArrayList<>();
            List<Value> items = new ArrayList<>();
            do {
                names.add(UniqueString.uniqueStringOf(word()));
                must("|->");
                items.add(value());
            } while (has(","));
            must("]");
            return new RecordValue(
                    names.toArray(new UniqueString[0]), items.toArray(new Value[0]), false);
        }

        private Value function() {
            List<Value> domain = new ArrayList<>();
            List<Value> items = new ArrayList<>();
            do {
                domain.add(value());
                must(":>");
                items.add(value());
            } while (has("@@"));
            must(")");
            return new FcnRcdValue(
                    domain.toArray(new Value[0]), items.toArray(new Value[0]), false);
        }
    }
}
