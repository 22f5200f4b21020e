import java.io.BufferedWriter;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import tlc2.util.FP64;
import tlc2.value.impl.BoolValue;
import tlc2.value.impl.SetEnumValue;
import tlc2.value.impl.Value;

/**
 * Writes down the states that TLC finds, for `States.tla'. TLC takes this class for the module of
 * its name, and its methods for the definitions of theirs.
 *
 * Two values are taken for one as TLC takes two states for one, by their 64-bit fingerprints.
 */
public class States {
  private static final Map<Long, Integer> numbers = new HashMap<>();
  private static final PrintWriter out = open();

  private static PrintWriter open() {
    try {
      BufferedWriter file = Files.newBufferedWriter(Path.of("states.txt"));
      PrintWriter out = new PrintWriter(file);
      Runtime.getRuntime().addShutdownHook(new Thread(out::close));
      return out;
    } catch (IOException why) {
      throw new IllegalStateException(why);
    }
  }

  public static synchronized Value Note(Value parts, Value more, Value rest) {
    StringBuilder line = new StringBuilder("state");
    all(line, parts);
    all(line.append(" |"), more);
    line.append(" | ").append(number(rest));
    out.println(line);
    return BoolValue.ValTrue;
  }

  private static void all(StringBuilder line, Value set) {
    SetEnumValue values = (SetEnumValue) set.toSetEnum().normalize();
    for (int at = 0; at < values.size(); at++) {
      line.append(' ').append(number(values.elems.elementAt(at)));
    }
  }

  private static int number(Value value) {
    return numbers.computeIfAbsent(
        value.fingerPrint(FP64.New()),
        unknown -> {
          out.println("value " + value);
          return numbers.size();
        });
  }
}
