import java.io.StringReader;
import java.io.StringWriter;
import java.sql.*;
import java.util.Properties;
import org.postgresql.PGConnection;

/**
 * What jdbc.test.ts has the JDBC driver do. Arguments: what, URL, role, password. Prints a line for each result.
 */
public class Jdbc {
  public static void main(String[] arguments) throws Exception {
    Properties login = new Properties();
    login.setProperty("user", arguments[2]);
    login.setProperty("password", arguments[3]);
    login.setProperty("reWriteBatchedInserts", "true");
    try (Connection connection = DriverManager.getConnection(arguments[1], login)) {
      if (arguments[0].equals("ordinary")) ordinary(connection);
      else durable(connection);
    }
  }

  static void ordinary(Connection connection) throws Exception {
    try (Statement statement = connection.createStatement()) {
      statement.execute("CREATE TABLE public.items (id int PRIMARY KEY, name text); SELECT 1; SELECT 2");
    }
    // Behind the fifth use the driver names the statement and reads in binary.
    try (PreparedStatement insert = connection.prepareStatement("INSERT INTO public.items VALUES (?, ?)")) {
      for (int i = 0; i < 2000; i++) {
        insert.setInt(1, i);
        insert.setString(2, "é" + i);
        insert.addBatch();
      }
      System.out.println("batches " + insert.executeBatch().length);
    }
    for (int i = 0; i < 8; i++) {
      try (PreparedStatement select = connection.prepareStatement("SELECT name FROM public.items WHERE id = ?")) {
        select.setInt(1, i);
        ResultSet row = select.executeQuery();
        row.next();
        System.out.println(row.getString(1));
      }
    }
    // By a portal that is read in pieces.
    connection.setAutoCommit(false);
    try (Statement statement = connection.createStatement()) {
      statement.setFetchSize(300);
      long sum = 0;
      ResultSet rows = statement.executeQuery("SELECT id FROM public.items ORDER BY id");
      while (rows.next()) sum += rows.getInt(1);
      System.out.println("sum " + sum);
      Savepoint before = connection.setSavepoint();
      try {
        statement.execute("SELECT nothing FROM public.items");
      } catch (SQLException error) {
        System.out.println(error.getSQLState() + " " + error.getMessage());
      }
      connection.rollback(before);
      var copy = connection.unwrap(PGConnection.class).getCopyAPI();
      System.out.println("copied " + copy.copyIn("COPY public.items FROM STDIN", new StringReader("9001\tone\n9002\ttwo\n")));
      StringWriter out = new StringWriter();
      copy.copyOut("COPY (SELECT * FROM public.items WHERE id > 9000 ORDER BY id) TO STDOUT (FORMAT csv)", out);
      System.out.println(out.toString().trim());
    }
    connection.commit();
    connection.setAutoCommit(true);
    try (Statement statement = connection.createStatement()) {
      statement.setQueryTimeout(1);
      statement.execute("SELECT pg_sleep(60)");
    } catch (SQLException error) {
      System.out.println(error.getSQLState());
    }
    try (Statement statement = connection.createStatement()) {
      ResultSet row = statement.executeQuery("SELECT 'still there'");
      row.next();
      System.out.println(row.getString(1));
    }
  }

  static void durable(Connection connection) throws Exception {
    // In a PreparedStatement a ? is a parameter unless it is doubled; the server gets one.
    String sql = "SELECT df.start(? ??> 'INSERT INTO playground.log VALUES (''then'')' !> 'SELECT 0' ~> ?)";
    for (int i = 0; i < 7; i++) {
      try (PreparedStatement start = connection.prepareStatement(sql)) {
        start.setString(1, "SELECT true");
        start.setString(2, "INSERT INTO playground.log VALUES ('next " + i + "')");
        ResultSet row = start.executeQuery();
        row.next();
        System.out.println(row.getMetaData().getColumnName(1) + " " + row.getString(1));
      }
    }
    // In a plain Statement it is what it is.
    try (Statement statement = connection.createStatement()) {
      ResultSet row = statement.executeQuery(
          "SELECT df.start('SELECT false' ?> 'SELECT 1' !> 'INSERT INTO playground.log VALUES (''else'')')");
      row.next();
      System.out.println(row.getMetaData().getColumnName(1) + " " + row.getString(1));
    }
  }
}
