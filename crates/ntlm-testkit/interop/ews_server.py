"""Exchange Web Services, as far as exchangelib is asked to resolve names: each name is that of whom the connection belongs to.

The argument is the address to listen at; the users are in NTLM_USER_FILE."""
import sys

import bound

ANSWER = """<?xml version="1.0" encoding="utf-8"?>
<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"
    xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"
    xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages">
<s:Header><t:ServerVersionInfo MajorVersion="15" MinorVersion="1" MajorBuildNumber="2507" MinorBuildNumber="6" Version="V2017_07_11"/></s:Header>
<s:Body><m:ResolveNamesResponse><m:ResponseMessages><m:ResolveNamesResponseMessage ResponseClass="Success">
<m:ResponseCode>NoError</m:ResponseCode><m:ResolutionSet TotalItemsInView="1" IncludesLastItemInRange="true"><t:Resolution><t:Mailbox>
<t:Name>%s</t:Name><t:EmailAddress>%s@example.com</t:EmailAddress><t:RoutingType>SMTP</t:RoutingType><t:MailboxType>Mailbox</t:MailboxType>
</t:Mailbox></t:Resolution></m:ResolutionSet></m:ResolveNamesResponseMessage></m:ResponseMessages></m:ResolveNamesResponse></s:Body>
</s:Envelope>"""


class Connection(bound.Connection):
    def answer(self, _body):
        return (ANSWER % (self.user(), self.user())).encode(), ("Content-Type", "text/xml; charset=utf-8")


bound.serve(sys.argv[1], Connection)
