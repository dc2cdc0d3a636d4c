package pondflight;

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;

/**
 * Users who connect, ask and leave, again and again; each row has to carry its user's mark.
 *
 * <p>Arguments: the end of the URL's address and its options, seconds, then a user and a token for
 * each. Prints a line for each statement: the user, then "whole", or "error" and its words, or
 * "WRONG" and what was wrong.
 */
public final class Soak {
  private static final int ROWS = 20_000;

  public static void main(String[] arguments) throws InterruptedException {
    String url = "jdbc:arrow-flight-sql://" + arguments[0] + "&token=";
    long end = System.nanoTime() + (long) (Double.parseDouble(arguments[1]) * 1e9);
    List<Thread> threads = new ArrayList<>();
    for (int i = 2; i < arguments.length; i += 2) {
      String user = arguments[i];
      String token = arguments[i + 1];
      Thread thread = new Thread(() -> live(url + token, user, end));
      thread.start();
      threads.add(thread);
    }
    for (Thread thread : threads) {
      thread.join();
    }
    System.exit(0); // the driver's threads are no daemons
  }

  private static void live(String url, String user, long end) {
    Random random = new Random(user.hashCode());
    while (System.nanoTime() < end) {
      String outcome;
      try (Connection connection = DriverManager.getConnection(url);
          Statement statement = connection.createStatement()) {
        outcome = ask(statement, user, 1 + random.nextInt(ROWS));
      } catch (SQLException | RuntimeException error) {
        outcome = "error " + String.valueOf(error.getMessage()).replace('\n', ' ');
      }
      System.out.println(user + " " + outcome);
    }
  }

  private static String ask(Statement statement, String user, int rows) throws SQLException {
    int seen = 0;
    String sql = "SELECT '" + user + "' AS who, range AS i FROM range(" + rows + ")";
    try (ResultSet result = statement.executeQuery(sql)) {
      while (result.next()) {
        if (!user.equals(result.getString(1)) || result.getLong(2) != seen++) {
          return "WRONG row " + seen + " of " + result.getString(1);
        }
      }
    }
    return seen == rows ? "whole" : "WRONG " + seen + " of " + rows + " rows, and no error";
  }
}
