# A session of Perl's LWP: BASE USER PASSWORD. Prints "ANSWER status user" for each answer.
use strict;
use warnings;
use LWP::UserAgent;

my ($base, $user, $password) = @ARGV;
# NTLM wants a connection that is kept.
my $agent = LWP::UserAgent->new(keep_alive => 1, timeout => 50, ssl_opts => { SSL_ca_file => $ENV{SSL_CERT_FILE} });
my ($place) = $base =~ m{//(.*)};
$agent->credentials($place, "", "EXAMPLE\\$user", $password);
for my $path (qw(one two three four)) {
    my $url = "$base/session/$path";
    my $answer = $path eq "three" ? $agent->post($url, Content => "x" x 100_000) : $agent->get($url);
    print $answer->status_line, "\n" unless $answer->is_success;
    print "ANSWER ", $answer->code, " ", $answer->header("X-Identity") // "", "\n";
}
